// Package api is the gateway's HTTP interface to jobs, their outcomes and their event streams.
package api
