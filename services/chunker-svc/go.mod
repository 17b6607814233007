module github.com/larkstream/larkstream/services/chunker-svc

go 1.26.0

require (
	github.com/hajimehoshi/go-mp3 v0.3.4
	github.com/larkstream/larkstream/shared v0.0.0
	github.com/mewkiz/flac v1.0.14
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
)

replace github.com/larkstream/larkstream/shared => ../../shared

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/icza/bitio v1.1.0 // indirect
	github.com/mewkiz/pkg v0.0.0-20250417130911-3f050ff8c56d // indirect
	github.com/mewpkg/term v0.0.0-20241026122259-37a80af23985 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
