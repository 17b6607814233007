-- +goose Up
-- The vector of an item that was answered about: the mean of its embedding's frames over all windows, of length 1, as little-endian 32-bit floats. Vectors
-- of one space, which names the encoder and its weights, can be compared. An item without a row has none.
CREATE TABLE run_vectors (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    n      BIGINT NOT NULL,
    space  TEXT NOT NULL,
    vector BYTEA NOT NULL,
    PRIMARY KEY (run_id, n)
);
