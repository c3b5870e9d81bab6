//! What a spark-submit line means.
