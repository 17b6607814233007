// Package webhook tells tenants over HTTP what has happened, by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com).
//
// A message is written in the transaction of what it tells (package store) and delivered at least once: whoever claims a delivery holds it for a
// lease, and a gateway that dies gives it back that way. Every attempt and replay of a message has the same id.
package webhook
