// Command projector-svc turns audio embeddings into soft prompts.
package main

import (
	"github.com/larkstream/larkstream/services/projector-svc/projectorsvc"
	"github.com/larkstream/larkstream/shared/service"
)

func main() { service.Main("projector-svc", projectorsvc.Command) }
