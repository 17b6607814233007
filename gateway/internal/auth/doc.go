// Package auth says who sends a request and what he may do: nobody in particular, the holder of a key, or the bearer of a token that an OpenID
// provider has issued. Every request belongs to one tenant.
package auth
