// Package client speaks to a Larkstream gateway over HTTP: it submits jobs, watches them, and reads their outcomes. It also holds the
// types of the wire format, which the gateway serves. It imports nothing of the server.
package client
