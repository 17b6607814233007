module github.com/larkstream/larkstream/services/llm-svc

go 1.26.0

replace github.com/larkstream/larkstream/shared => ../../shared
