//! Tables of rows, splits, templates, tokens, and the built-in generated task.
