"""Is a site well? Small checks from where one stands, each with one sentence, and with what to do."""
