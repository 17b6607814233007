// Package batches works through batches of OpenAI's API: files of requests, each of which becomes one bulk job. Whatever a batch has come to stands in the
// job store, so that any gateway carries it on.
package batches
