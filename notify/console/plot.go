package console

import (
	"math"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/counters"
)

// Size of a plot in its own units; the page stretches it. Its texts are beside it, so that they are
// as large on a phone as elsewhere.
const (
	plotWidth, plotHeight = 720, 160
	mostLayers            = 6 // further series are added up as "Other"
	plotTimes             = 6 // below a plot
)

// plot is a chart of stacked bars, drawn as SVG and readable as a table.
type plot struct {
	Title  string
	Layers []layer
	Bars   []bar
	Scale  []string // beside it, from the top: the values at the top, in the middle and at the bottom
	Times  []string // below it, each of an equal part
	Rows   []plotRow
}

// layer is a series of a plot.
type layer struct {
	Name, Class string
	Total       string
	values      []float64
}

type bar struct {
	X, Y, Width, Height float64
	Class               string
}

type plotRow struct {
	Time   time.Time
	Values []string
}

// plotOf draws layers. Each has a value for every step from a time on; text writes a value. Values
// are counted in units, such as 1024 for KiB, up to the largest that is below them.
func plotOf(title string, from time.Time, step time.Duration, layers []layer, unit float64, total func([]float64) float64, text func(float64) string) plot {
	p := plot{Title: title}
	steps := 0
	for i := range layers {
		steps = max(steps, len(layers[i].values))
		layers[i].Total = text(total(layers[i].values))
	}
	p.Layers = layers
	if len(layers) == 0 {
		return p
	}
	highest := 0.0
	for n := range steps {
		row := plotRow{Time: from.Add(time.Duration(n) * step)}
		height := 0.0
		for _, l := range layers {
			height += l.values[n]
			row.Values = append(row.Values, text(l.values[n]))
		}
		highest = max(highest, height)
		p.Rows = append(p.Rows, row)
	}
	top := topOf(highest, unit)
	p.draw(steps, top)
	p.Scale = []string{text(top), text(top / 2), text(0)}
	for n := range plotTimes {
		p.Times = append(p.Times, from.Add(time.Duration(n*steps/plotTimes)*step).Local().Format("15:04"))
	}
	return p
}

func (p *plot) draw(steps int, top float64) {
	width := plotWidth / float64(steps)
	for n := range steps {
		y := float64(plotHeight)
		for _, l := range p.Layers {
			height := round(l.values[n] / top * plotHeight)
			if height == 0 {
				continue
			}
			y -= height
			p.Bars = append(p.Bars, bar{X: round(float64(n)*width + width*.12), Y: round(y), Width: round(width * .76), Height: height, Class: l.Class})
		}
	}
}

// topOf is the value at the top of a plot: a nice number of the largest unit below n.
func topOf(n, unit float64) float64 {
	scale := 1.0
	for unit > 1 && n >= scale*unit {
		scale *= unit
	}
	if top := niceTop(n / scale); unit == 1 || top < 1000 {
		return top * scale
	}
	return unit * scale
}

// niceTop is the next of 2, 4, 6, 10, 20, 40 … that is not below n.
func niceTop(n float64) float64 {
	scale := 1.0
	for {
		for _, top := range []float64{2, 4, 6, 10} {
			if n <= top*scale {
				return top * scale
			}
		}
		scale *= 10
	}
}

func round(f float64) float64 { return math.Round(f*10) / 10 }

// layersOf makes layers of lines, one for each name that name gives a line. The largest come
// first, and what is beyond mostLayers is one layer.
func layersOf(lines []counters.Line, name func(counters.Line) string, value func(counters.Point) float64) []layer {
	var all []layer
	at := map[string]int{}
	for _, l := range lines {
		n := name(l)
		i, known := at[n]
		if !known {
			if len(all) == mostLayers {
				i = mostLayers - 1
				all[i].Name = "Other"
			} else {
				i = len(all)
				all = append(all, layer{Name: n, Class: layerClasses[i], values: make([]float64, len(l.Points))})
			}
			at[n] = i
		}
		for k, p := range l.Points {
			all[i].values[k] += value(p)
		}
	}
	return all
}

// layerClasses are the colours of style.css.
var layerClasses = [mostLayers]string{"s0", "s1", "s2", "s3", "s4", "s5"}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}
