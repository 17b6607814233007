// Package fetch reads URLs that users gave, over HTTP and HTTPS. It does not let a user reach into the network that the process runs in.
package fetch
