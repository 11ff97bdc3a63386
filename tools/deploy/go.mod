// Checks of what we deploy: the compose file and the Dockerfile are read by
// the libraries that docker itself uses. Their graph is large, so it stands
// alone.
module presencesets/tools/deploy

go 1.26.8

toolchain go1.26.10

require (
	github.com/compose-spec/compose-go/v2 v2.16.2 // indirect
	github.com/moby/buildkit v0.34.2 // indirect
)
