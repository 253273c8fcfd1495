package httpapi

import (
	"context"

	"github.com/tailmarket/tailmarket/internal/httpapi/api"
	"github.com/tailmarket/tailmarket/internal/id"
	"github.com/tailmarket/tailmarket/internal/identity"
)

func keyOf(k identity.APIKey) api.Key {
	return api.Key{
		Id: string(k.ID), Name: k.Name, Sources: append([]string{}, k.Sources...), CreatedAt: k.CreatedAt, CreatedBy: k.CreatedBy,
		LastUsedAt: k.LastUsedAt, RevokedAt: k.RevokedAt, RevokedBy: k.RevokedBy,
	}
}

// ListKeys implements api.StrictServerInterface.
func (o operations) ListKeys(ctx context.Context, _ api.ListKeysRequestObject) (api.ListKeysResponseObject, error) {
	all, err := o.Keys.List(ctx)
	if err != nil {
		return nil, err
	}
	out := api.ListKeys200JSONResponse{Items: make([]api.Key, len(all))}
	for i, k := range all {
		out.Items[i] = keyOf(k)
	}
	return out, nil
}

// AddKey implements api.StrictServerInterface.
func (o operations) AddKey(ctx context.Context, r api.AddKeyRequestObject) (api.AddKeyResponseObject, error) {
	if r.Body == nil {
		return nil, errNoBody()
	}
	secret, k, err := o.Keys.Add(ctx, r.Body.Name, r.Body.Sources, principal(ctx).Actor)
	if err != nil {
		return nil, err
	}
	return api.AddKey201JSONResponse{Key: keyOf(k), Secret: secret}, nil
}

// RevokeKey implements api.StrictServerInterface.
func (o operations) RevokeKey(ctx context.Context, r api.RevokeKeyRequestObject) (api.RevokeKeyResponseObject, error) {
	if err := o.Keys.Revoke(ctx, id.APIKey(r.Id), principal(ctx).Actor); err != nil {
		return nil, err
	}
	return api.RevokeKey204Response{}, nil
}
