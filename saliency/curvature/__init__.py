"""Second derivatives of a loss: diagonals, products, inverses and factors."""
