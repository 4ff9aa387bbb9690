"""What tests share: servers, photos, datasets, models and processes made for them."""
