"""Networks on a token grid."""
