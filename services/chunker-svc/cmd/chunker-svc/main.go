// Command chunker-svc decodes audio files and cuts them into windows.
package main

import (
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/shared/service"
)

func main() { service.Main("chunker-svc", chunkersvc.Command) }
