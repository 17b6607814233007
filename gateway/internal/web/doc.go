// Package web holds the gateway's pages: a landing page that asks a question, and the documentation of the API. The pages load nothing
// from the internet.
package web
