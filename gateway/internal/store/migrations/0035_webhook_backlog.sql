-- +goose Up
-- The oldest delivery that is still to be made is found at once.
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (created_ms) WHERE state = 'pending';
