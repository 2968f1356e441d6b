// The page of `weir ui`: takes the token out of the address, and draws the page.

import { render } from "preact";
import { takeToken } from "./api.ts";
import { App } from "./app.tsx";
import "./page.css";

takeToken();
const place = document.getElementById("page");
if (place !== null) render(<App />, place);
