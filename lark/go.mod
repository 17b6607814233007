module github.com/larkstream/larkstream/lark

go 1.26.0

replace github.com/larkstream/larkstream/shared => ../shared

replace github.com/larkstream/larkstream/gateway => ../gateway

replace github.com/larkstream/larkstream/services/chunker-svc => ../services/chunker-svc

replace github.com/larkstream/larkstream/services/encoder-svc => ../services/encoder-svc

replace github.com/larkstream/larkstream/services/projector-svc => ../services/projector-svc

replace github.com/larkstream/larkstream/services/llm-svc => ../services/llm-svc

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/term v0.47.0 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)
