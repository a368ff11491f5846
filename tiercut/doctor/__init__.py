"""Is a site well? Small checks from this machine; each gives one sentence and a fix."""
