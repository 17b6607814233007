// Package fetch downloads audio from a URL that a user gave. It does not let the user reach into the network that the gateway runs in.
package fetch
