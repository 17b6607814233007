package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/openai"
)

type modelsOutput struct{ Body client.ModelList }

type modelInput struct {
	ID string `path:"id" doc:"Id of a model, or its name without a version" maxLength:"200"`
}

type modelOutput struct{ Body client.Model }

func (a *API) registerModels() {
	list := a.spoken("list-models", http.MethodGet, "/v1/models", "List models", "The model that this deployment serves.", "models")
	huma.Register(a.huma, list, func(context.Context, *struct{}) (*modelsOutput, error) {
		models := append([]client.Model{}, a.deps.Models...)
		return &modelsOutput{Body: client.ModelList{Object: client.ListObject, Data: models, Models: models}}, nil
	})
	get := a.spoken("get-model", http.MethodGet, "/v1/models/{id}", "Get a model", "What is served under this name.", "models")
	huma.Register(a.huma, get, func(_ context.Context, in *modelInput) (*modelOutput, error) {
		m, ok := a.model(in.ID)
		if !ok {
			return nil, problem(http.StatusNotFound, openai.CodeModelNotFound, "this model is not served here; /v1/models lists what is")
		}
		return &modelOutput{Body: m}, nil
	})
}
