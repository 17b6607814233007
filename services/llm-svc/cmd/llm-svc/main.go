// Command llm-svc answers questions about windows from their soft prompts.
package main

import (
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/shared/service"
)

func main() { service.Main("llm-svc", llmsvc.Command) }
