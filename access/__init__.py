"""Who may do what: roles of visitors, tokens that prove them, tickets that let a run be started."""
