package worker

import "context"

type scopeKey struct{}

func withScope(ctx context.Context, scope string) context.Context {
	if scope == "" {
		return ctx
	}
	return context.WithValue(ctx, scopeKey{}, scope)
}

// Scoped is the key under which a handler keeps a value, of the key that the content has by itself: for the records of an isolated tenant it ends with
// the tenant (event.KeyScope), so that the tenant finds its own values only, and nobody else finds them. Everybody else shares.
func Scoped(ctx context.Context, key string) string {
	scope, _ := ctx.Value(scopeKey{}).(string)
	return key + scope
}
