// Command gateway serves the HTTP API of Larkstream.
package main

import (
	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/shared/service"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func main() { service.Main(telemetry.ServiceGateway, server.Command) }
