package tensor

// Matrix holds Rows rows of Cols values, row by row: an embedding is frames x features, a soft prompt frames x decoder width.
type Matrix struct {
	Rows, Cols int
	// Data has Rows·Cols values.
	Data []float32
}
