"""Is a site well? Small checks from this machine, each one sentence and a fix. Nothing here changes a site."""
