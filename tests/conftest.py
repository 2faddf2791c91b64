"""What holds for every test of the house."""

import hypothesis

# A machine with other work takes longer over an example now and then: that is no finding.
hypothesis.settings.register_profile("fettle", deadline=None)
hypothesis.settings.load_profile("fettle")
