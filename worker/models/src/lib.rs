//! Transformers in the Hugging Face layout: decoder, encoder, heads.
