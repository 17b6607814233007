package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

type keyListInput struct {
	Tenant string `query:"tenant" doc:"Only keys of this tenant" maxLength:"63"`
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Keys per page" minimum:"1" maximum:"100" default:"100"`
}

type keyListOutput struct{ Body client.KeyList }

type keyInput struct {
	ID string `path:"key" doc:"Id of the key" maxLength:"32"`
}

type keyOutput struct{ Body client.Key }

type newKeyInput struct{ Body client.NewKey }

type rotateInput struct {
	ID   string `path:"key" doc:"Id of the key" maxLength:"32"`
	Body client.KeyRotation
}

type madeKeyOutput struct{ Body client.MadeKey }

func (a *API) registerKeys() {
	op := func(id, method, path, summary, description string) huma.Operation {
		o := a.operation(id, method, path, summary, description)
		o.Tags = []string{"admin"}
		return o
	}
	huma.Register(a.huma, op("list-keys", http.MethodGet, "/v1/keys", "List keys", "By id, in pages, without their secrets."), a.listKeys)
	create := op("create-key", http.MethodPost, "/v1/keys", "Create a key", "The answer holds the secret, which is shown this once: the gateway keeps its hash only.")
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create, a.createKey)
	huma.Register(a.huma, op("revoke-key", http.MethodPost, "/v1/keys/{key}/revoke", "Revoke a key",
		"The key is refused at once by this gateway and within ten seconds by all others. Revoking again changes nothing."), func(ctx context.Context, in *keyInput) (*keyOutput, error) {
		k, err := a.deps.Admin.RevokeKey(ctx, in.ID)
		a.deps.Forget()
		if err != nil {
			return nil, a.failAdmin(ctx, err)
		}
		return &keyOutput{Body: a.keyView(k)}, nil
	})
	rotate := op("rotate-key", http.MethodPost, "/v1/keys/{key}/rotate", "Rotate a key",
		"Makes a key with the same tenant, name and scopes and a life as long. The old key works on for `overlap_s`, so that its holders can change over.")
	rotate.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, rotate, a.rotateKey)
}

func (a *API) listKeys(ctx context.Context, in *keyListInput) (*keyListOutput, error) {
	after, err := openName("k", in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Admin.Keys(ctx, in.Tenant, after, in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &keyListOutput{Body: client.KeyList{Keys: []client.Key{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.Next = makeCursor("k", found[in.Limit-1].ID)
	}
	for _, k := range found {
		out.Body.Keys = append(out.Body.Keys, a.keyView(k))
	}
	return out, nil
}

func (a *API) createKey(ctx context.Context, in *newKeyInput) (*madeKeyOutput, error) {
	b := in.Body
	slices.Sort(b.Scopes)
	b.Scopes = slices.Compact(b.Scopes)
	if err := auth.CheckScopes(b.Scopes); err != nil {
		return nil, invalid(codeInvalidRequest, "%v", err)
	}
	made := auth.NewKey()
	k := store.Key{ID: made.ID, SecretHash: made.Hash(), Tenant: cmp.Or(b.Tenant, tenantOf(ctx)), Name: b.Name, Scopes: b.Scopes}
	if b.ExpiresInS > 0 {
		k.Expires = a.now().Add(seconds(b.ExpiresInS))
	}
	k, err := a.deps.Admin.CreateKey(ctx, k)
	return a.madeKey(ctx, k, made, err)
}

func (a *API) rotateKey(ctx context.Context, in *rotateInput) (*madeKeyOutput, error) {
	made := auth.NewKey()
	k, err := a.deps.Admin.RotateKey(ctx, in.ID, store.Key{ID: made.ID, SecretHash: made.Hash()}, seconds(in.Body.OverlapS))
	a.deps.Forget()
	return a.madeKey(ctx, k, made, err)
}

func (a *API) madeKey(ctx context.Context, k store.Key, made auth.Key, err error) (*madeKeyOutput, error) {
	if err != nil {
		return nil, a.failAdmin(ctx, err)
	}
	return &madeKeyOutput{Body: client.MadeKey{Key: a.keyView(k), Secret: made.String()}}, nil
}

func (a *API) keyView(k store.Key) client.Key {
	v := client.Key{
		ID: k.ID, Tenant: k.Tenant, Name: k.Name, Scopes: k.Scopes, State: client.KeyActive, CreatedAt: k.Created,
		ExpiresAt: timePtr(k.Expires), RevokedAt: timePtr(k.Revoked), ReplacedBy: k.ReplacedBy,
	}
	switch {
	case !k.Revoked.IsZero():
		v.State = client.KeyRevoked
	case !k.Works(a.now()):
		v.State = client.KeyExpired
	}
	return v
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
