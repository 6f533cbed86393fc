"""Standing selections written as SQL: run in the query's fence, judged, and made wanted; see docs/subscriptions.md."""
