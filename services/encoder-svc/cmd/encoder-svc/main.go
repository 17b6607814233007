// Command encoder-svc turns windows of audio into embeddings.
package main

import (
	"github.com/larkstream/larkstream/services/encoder-svc/encodersvc"
	"github.com/larkstream/larkstream/shared/service"
)

func main() { service.Main("encoder-svc", encodersvc.Command) }
