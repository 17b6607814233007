// Package index is the client's side of runs over catalogues: it reads manifests, fills and follows runs, and exports, reconciles and reports their
// results. The work itself is the gateway's.
package index
