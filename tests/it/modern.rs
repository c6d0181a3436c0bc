//! Stateless requests (2026-07-28).
