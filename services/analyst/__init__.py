"""Questions in plain language over semantic models: answered by SQL that anybody can check, or refused with a reason."""
