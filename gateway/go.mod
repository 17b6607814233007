module github.com/larkstream/larkstream/gateway

go 1.26.0

replace github.com/larkstream/larkstream/shared => ../shared
