"""One page of HTML about finished runs, which needs no network to be read."""
