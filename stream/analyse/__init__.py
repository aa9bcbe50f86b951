"""What a clip holds, and the scene that follows from it (`skate analyse`)."""
