"""The report of a run: numbers (`summary`, `collect`), pictures (`figures`, `strips`) and a page of both (`html`)."""
