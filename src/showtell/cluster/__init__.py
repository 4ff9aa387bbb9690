"""The batch job on Ray Data: millions of photos in, Parquet files of captions out."""
