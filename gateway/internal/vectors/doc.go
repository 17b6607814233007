// Package vectors pools the embeddings of a track into one vector, and finds the vectors of a run that are nearest to another.
package vectors
