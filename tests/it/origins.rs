//! Values that Larder fetches itself.

// Fetched once, stored, answered; what is missing, and what fails.
mod basics;
