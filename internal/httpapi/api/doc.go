// Package api is generated from internal/httpapi/openapi.yaml: the operator
// API's shapes and the glue that decodes requests and encodes answers. It owns
// nothing; the handlers are in httpapi. Change the document and generate.
package api
