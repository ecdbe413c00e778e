//! Wrappers that inject failures into any adapter, for tests.
