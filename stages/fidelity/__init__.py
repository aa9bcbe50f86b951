"""What is measured of the interaction itself: who touches what, and how the object moves with its person.

picture -> masks, keypoints --sight.py--> a row of numbers (a sight), of the source and of the result alike
both rows and pictures --kinds/*.py--> metrics, one value a frame
all rows --totals.py--> counts: contact as precision and recall, flips, flights
"""
