package source

import (
	"crypto/x509"

	"github.com/larkstream/larkstream/shared/fetch"
)

// NewTrusting is New for web hosts with certificates of these authorities.
func NewTrusting(allowed []string, roots *x509.CertPool) (*Sources, error) {
	return newSources(allowed, fetch.Deps{Roots: roots})
}
