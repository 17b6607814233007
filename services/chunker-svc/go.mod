module github.com/larkstream/larkstream/services/chunker-svc

go 1.26.0

replace github.com/larkstream/larkstream/shared => ../../shared
